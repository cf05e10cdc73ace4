-- Calls that were made to happen: whom they called, and why their line ended.
ALTER TABLE calls ADD COLUMN callee TEXT;
ALTER TABLE calls ADD COLUMN q850   INTEGER;    -- cause value of ITU-T Q.850
ALTER TABLE calls ADD COLUMN sip    INTEGER;    -- status of the SIP response that ended it
