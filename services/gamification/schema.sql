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
