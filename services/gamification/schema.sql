CREATE TABLE IF NOT EXISTS progression (
  user_id TEXT PRIMARY KEY,
  total_xp INTEGER NOT NULL CHECK (total_xp >= 0)
) WITHOUT ROWID;

-- Read models of the leaderboards, fed by events alone.
CREATE TABLE IF NOT EXISTS board_score (
  board INTEGER NOT NULL, -- astra.gamification.v1.Board
  period_ms INTEGER NOT NULL, -- when the period began
  user_id TEXT NOT NULL,
  xp INTEGER NOT NULL,
  reached INTEGER NOT NULL, -- ordinal of the last XpGained: a total order of who reached a score first
  PRIMARY KEY (board, period_ms, user_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS board_score_by_rank ON board_score (board, period_ms, xp DESC, reached);

CREATE TABLE IF NOT EXISTS board_level (
  user_id TEXT PRIMARY KEY,
  level INTEGER NOT NULL
) WITHOUT ROWID;

-- The last LeaderboardUpdated of each board.
CREATE TABLE IF NOT EXISTS board_published (
  board INTEGER PRIMARY KEY,
  digest BLOB NOT NULL,
  publish_ms INTEGER NOT NULL
);

CREATE TABLE IF NOT EXISTS board_change (
  board INTEGER PRIMARY KEY,
  version INTEGER NOT NULL -- counts what may have changed the board: watchers look again when it moves
);

-- Check-ins, by UTC day.
CREATE TABLE IF NOT EXISTS streak (
  user_id TEXT PRIMARY KEY,
  days INTEGER NOT NULL CHECK (days >= 1),
  last_day INTEGER NOT NULL -- days since 1970-01-01
) WITHOUT ROWID;

-- What users have done, as far as achievements count it.
CREATE TABLE IF NOT EXISTS deed (
  user_id TEXT NOT NULL,
  deed INTEGER NOT NULL, -- achievements.Deed
  times INTEGER NOT NULL,
  PRIMARY KEY (user_id, deed)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS unlocked (
  user_id TEXT NOT NULL,
  achievement_id TEXT NOT NULL,
  unlock_ms INTEGER NOT NULL,
  PRIMARY KEY (user_id, achievement_id)
) WITHOUT ROWID;

-- Shards, by double entry: the two entries of a transfer sum to zero. Users' accounts are named by their id, the others
-- with a colon, which no id has; those may go below 0 by what they have issued.
CREATE TABLE IF NOT EXISTS shard_account (
  account TEXT PRIMARY KEY,
  balance INTEGER NOT NULL CHECK (balance >= 0 OR account LIKE '%:%')
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS shard_transfer (
  transfer_id TEXT PRIMARY KEY, -- whose it is and what it is for: a repeat has the same one
  purpose TEXT NOT NULL,
  create_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS shard_entry (
  transfer_id TEXT NOT NULL REFERENCES shard_transfer,
  account TEXT NOT NULL,
  amount INTEGER NOT NULL CHECK (amount <> 0),
  PRIMARY KEY (transfer_id, account)
) WITHOUT ROWID;
