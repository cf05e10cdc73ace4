-- The words of what was said, to look for: without regard to upper and lower case, in any alphabet, and to accents. The
-- Cyrillic ё, which many write without its dots, is no accented letter to SQLite.
CREATE VIRTUAL TABLE turn_words USING fts5 (
    text,
    content = '', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TRIGGER turns_said AFTER INSERT ON turns BEGIN
    INSERT INTO turn_words (rowid, text) VALUES (new.id, replace(replace(new.text, 'ё', 'е'), 'Ё', 'Е'));
END;
CREATE TRIGGER turns_forgotten AFTER DELETE ON turns BEGIN
    INSERT INTO turn_words (turn_words, rowid, text)
        VALUES ('delete', old.id, replace(replace(old.text, 'ё', 'е'), 'Ё', 'Е'));
END;
INSERT INTO turn_words (rowid, text) SELECT id, replace(replace(text, 'ё', 'е'), 'Ё', 'Е') FROM turns;
