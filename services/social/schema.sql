-- A row from the user's own first deed on.
CREATE TABLE IF NOT EXISTS profile (
  user_id TEXT PRIMARY KEY,
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
  seq INTEGER PRIMARY KEY, -- the order in which entries came to be; watchers go by it
  feed_entry_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  kind INTEGER NOT NULL, -- astra.social.v1.FeedEntryKind
  text TEXT NOT NULL,
  create_ms INTEGER NOT NULL -- of the deed it tells
);
CREATE INDEX IF NOT EXISTS feed_by_time ON feed_entry (create_ms, feed_entry_id);
CREATE INDEX IF NOT EXISTS feed_of_user_by_time ON feed_entry (user_id, create_ms, feed_entry_id);
CREATE INDEX IF NOT EXISTS feed_of_user_by_seq ON feed_entry (user_id, seq);

-- Read model, fed by events alone.
CREATE TABLE IF NOT EXISTS influence (
  user_id TEXT PRIMARY KEY,
  points INTEGER NOT NULL -- may be below 0
) WITHOUT ROWID;

-- A row from the first interaction on that moved a rating.
CREATE TABLE IF NOT EXISTS rating (
  user_id TEXT PRIMARY KEY,
  hundredths INTEGER NOT NULL CHECK (hundredths BETWEEN 0 AND 10000),
  told_hundredths INTEGER NOT NULL, -- as the last SocialRatingChanged told
  endorsements INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS clan (
  clan_id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  name_key TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  rating INTEGER NOT NULL CHECK (rating >= 0),
  wins INTEGER NOT NULL DEFAULT 0,
  losses INTEGER NOT NULL DEFAULT 0,
  draws INTEGER NOT NULL DEFAULT 0,
  create_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS clan_by_rating ON clan (rating DESC, clan_id);

CREATE TABLE IF NOT EXISTS clan_member (
  user_id TEXT PRIMARY KEY, -- one clan a user
  clan_id TEXT NOT NULL REFERENCES clan,
  role INTEGER NOT NULL, -- astra.social.v1.ClanRole
  join_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS clan_member_of ON clan_member (clan_id);
CREATE UNIQUE INDEX IF NOT EXISTS clan_owner ON clan_member (clan_id) WHERE role = 1;

CREATE TABLE IF NOT EXISTS battle (
  battle_id TEXT PRIMARY KEY,
  challenger_clan_id TEXT NOT NULL, -- kept when the clan is dissolved
  defender_clan_id TEXT NOT NULL,
  type INTEGER NOT NULL, -- astra.social.v1.BattleType
  state INTEGER NOT NULL, -- astra.social.v1.BattleState
  duration_seconds INTEGER NOT NULL,
  create_ms INTEGER NOT NULL,
  expire_ms INTEGER NOT NULL,
  start_ms INTEGER, -- from its acceptance on, as the next two
  end_ms INTEGER,
  pot INTEGER,
  winner_clan_id TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE UNIQUE INDEX IF NOT EXISTS battle_open_pair ON battle
  (min(challenger_clan_id, defender_clan_id), max(challenger_clan_id, defender_clan_id)) WHERE state IN (1, 2);
CREATE INDEX IF NOT EXISTS battle_by_time ON battle (create_ms, battle_id);
CREATE INDEX IF NOT EXISTS battle_of_challenger ON battle (challenger_clan_id, create_ms, battle_id);
CREATE INDEX IF NOT EXISTS battle_of_defender ON battle (defender_clan_id, create_ms, battle_id);

-- The members of both clans when a battle began.
CREATE TABLE IF NOT EXISTS fighter (
  battle_id TEXT NOT NULL REFERENCES battle,
  user_id TEXT NOT NULL,
  clan_id TEXT NOT NULL,
  score_hundredths INTEGER NOT NULL DEFAULT 0, -- scaled by the battle's type
  ordinal INTEGER NOT NULL DEFAULT 0, -- of the ClanBattleScoreUpdated it is from
  reward INTEGER NOT NULL DEFAULT 0, -- SHARDS
  paid INTEGER NOT NULL DEFAULT 0, -- 1 once the reward is on the user's account
  PRIMARY KEY (battle_id, user_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS fighter_unpaid ON fighter (battle_id, user_id) WHERE reward > 0 AND paid = 0;
