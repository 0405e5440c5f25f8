CREATE TABLE IF NOT EXISTS stream_metric (
  stream TEXT PRIMARY KEY,
  count INTEGER NOT NULL,
  sum_latency_ms INTEGER NOT NULL,
  max_latency_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS day_count (
  day INTEGER NOT NULL, -- days since the epoch, UTC
  counter TEXT NOT NULL, -- model.Counter
  total INTEGER NOT NULL,
  PRIMARY KEY (day, counter)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS active_user (
  day INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  PRIMARY KEY (day, user_id)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS trade_second (
  second INTEGER PRIMARY KEY, -- since the epoch
  count INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS trace_event (
  correlation_id TEXT NOT NULL,
  ms INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  causation_id TEXT NOT NULL,
  stream TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  user_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  PRIMARY KEY (correlation_id, ms, event_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS trace_event_by_time ON trace_event (ms);

-- The audit trail: rows are added and never changed.
CREATE TABLE IF NOT EXISTS audit_entry (
  number INTEGER PRIMARY KEY, -- from 1 without gaps
  event_id TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL,
  stream TEXT NOT NULL,
  stream_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  causation_id TEXT NOT NULL,
  ms INTEGER NOT NULL,
  data_hash BLOB NOT NULL,
  hash BLOB NOT NULL
);

CREATE INDEX IF NOT EXISTS audit_entry_of_user ON audit_entry (user_id, number);
CREATE INDEX IF NOT EXISTS audit_entry_of_subject ON audit_entry (subject, number);
CREATE INDEX IF NOT EXISTS audit_entry_of_chain ON audit_entry (correlation_id, number);

-- The last entry. It stands apart so that entries cut off at the end are missed.
CREATE TABLE IF NOT EXISTS audit_head (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  number INTEGER NOT NULL,
  hash BLOB NOT NULL
);
INSERT OR IGNORE INTO audit_head VALUES (1, 0, zeroblob(32));

CREATE TRIGGER IF NOT EXISTS audit_entry_stays BEFORE UPDATE ON audit_entry
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_entry_is_kept BEFORE DELETE ON audit_entry
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
-- INSERT OR REPLACE deletes without telling the trigger above.
CREATE TRIGGER IF NOT EXISTS audit_entry_is_next BEFORE INSERT ON audit_entry
WHEN NEW.number IS NOT (SELECT number + 1 FROM audit_head)
  OR EXISTS (SELECT 1 FROM audit_entry WHERE number = NEW.number OR event_id = NEW.event_id)
BEGIN SELECT RAISE(ABORT, 'the audit trail takes the next entry alone'); END;
CREATE TRIGGER IF NOT EXISTS audit_head_follows AFTER INSERT ON audit_entry
BEGIN UPDATE audit_head SET number = NEW.number, hash = NEW.hash; END;
CREATE TRIGGER IF NOT EXISTS audit_head_moves_on BEFORE UPDATE ON audit_head
WHEN NEW.number IS NOT OLD.number + 1
BEGIN SELECT RAISE(ABORT, 'the head of the audit trail moves one entry at a time'); END;
CREATE TRIGGER IF NOT EXISTS audit_head_is_kept BEFORE DELETE ON audit_head
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
