-- A row from the user's own first deed on.
CREATE TABLE IF NOT EXISTS profile (
  user_id TEXT PRIMARY KEY,
  rating_hundredths INTEGER NOT NULL CHECK (rating_hundredths BETWEEN 0 AND 10000),
  interaction_count INTEGER NOT NULL, -- trade shares not counted
  create_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS interaction (
  interaction_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  target_user_id TEXT NOT NULL, -- empty for a trade share
  kind INTEGER NOT NULL, -- astra.social.v1.InteractionKind
  text TEXT NOT NULL,
  create_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS interaction_asked_for ON interaction (user_id, create_ms) WHERE target_user_id <> '';

CREATE TABLE IF NOT EXISTS feed_entry (
  feed_entry_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  kind INTEGER NOT NULL, -- astra.social.v1.FeedEntryKind
  text TEXT NOT NULL,
  create_ms INTEGER NOT NULL -- of the deed it tells
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS feed_by_time ON feed_entry (create_ms, feed_entry_id);
CREATE INDEX IF NOT EXISTS feed_of_user_by_time ON feed_entry (user_id, create_ms, feed_entry_id);

-- Read model, fed by events alone.
CREATE TABLE IF NOT EXISTS influence (
  user_id TEXT PRIMARY KEY,
  points INTEGER NOT NULL -- may be below 0
) WITHOUT ROWID;
