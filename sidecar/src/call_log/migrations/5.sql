-- The words of what was said, to look for: without regard to upper and lower case, in any alphabet, and to accents.
CREATE VIRTUAL TABLE turn_words USING fts5 (
    text,
    content = 'turns', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2', prefix = '2 3'
);
CREATE TRIGGER turns_said AFTER INSERT ON turns BEGIN
    INSERT INTO turn_words (rowid, text) VALUES (new.id, new.text);
END;
CREATE TRIGGER turns_forgotten AFTER DELETE ON turns BEGIN
    INSERT INTO turn_words (turn_words, rowid, text) VALUES ('delete', old.id, old.text);
END;
INSERT INTO turn_words (turn_words) VALUES ('rebuild');
