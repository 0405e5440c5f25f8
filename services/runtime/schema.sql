-- What every service's database has beside the domain's own tables.

CREATE TABLE IF NOT EXISTS outbox (
  stream TEXT NOT NULL,
  ordinal INTEGER NOT NULL, -- dense per stream, from 1
  ms INTEGER NOT NULL, -- never falls within a stream
  envelope BLOB NOT NULL,
  PRIMARY KEY (stream, ordinal)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS outbox_stream (
  stream TEXT PRIMARY KEY,
  ordinal INTEGER NOT NULL, -- of the last row
  ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Successful writes by request id (AIP-155), for 24 h.
CREATE TABLE IF NOT EXISTS inbox_request (
  rpc TEXT NOT NULL,
  subject TEXT NOT NULL,
  request_id TEXT NOT NULL,
  hash BLOB NOT NULL,
  reply BLOB NOT NULL,
  expire_ms INTEGER NOT NULL,
  PRIMARY KEY (rpc, subject, request_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS inbox_request_expire ON inbox_request (expire_ms);

-- Events a group has applied: everything below the watermark, and single ones above it.
CREATE TABLE IF NOT EXISTS inbox_watermark (
  consumer_group TEXT NOT NULL,
  stream TEXT NOT NULL,
  done_below INTEGER NOT NULL, -- ordinals < done_below are applied
  PRIMARY KEY (consumer_group, stream)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS inbox_event (
  consumer_group TEXT NOT NULL,
  stream TEXT NOT NULL,
  ordinal INTEGER NOT NULL,
  PRIMARY KEY (consumer_group, stream, ordinal)
) WITHOUT ROWID;

-- Timers.
CREATE TABLE IF NOT EXISTS due (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS due_at ON due (at_ms);

-- Work of several steps that is not at its end.
CREATE TABLE IF NOT EXISTS saga (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  take_ms INTEGER NOT NULL, -- nobody takes it before: the end of a lease, or the time of the next attempt
  attempts INTEGER NOT NULL, -- failed ones
  correlation_id TEXT NOT NULL, -- the chain it was begun in
  causation_id TEXT NOT NULL,
  traceparent TEXT NOT NULL,
  PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS saga_take ON saga (take_ms);
