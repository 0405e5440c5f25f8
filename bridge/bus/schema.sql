-- What admins did with the bus, or looked at in it. Rows are kept.
CREATE TABLE IF NOT EXISTS bus_action (
  action_id TEXT PRIMARY KEY, -- time-ordered
  user_id TEXT NOT NULL,
  rpc TEXT NOT NULL,
  request TEXT NOT NULL, -- JSON
  correlation_id TEXT NOT NULL,
  begin_ms INTEGER NOT NULL,
  end_ms INTEGER, -- NULL while it goes on
  outcome TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
