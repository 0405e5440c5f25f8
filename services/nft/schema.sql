CREATE TABLE IF NOT EXISTS nft (
  nft_id TEXT PRIMARY KEY,
  owner_user_id TEXT NOT NULL,
  display_name TEXT NOT NULL,
  rarity INTEGER NOT NULL, -- astra.nft.v1.Rarity
  reward_kind INTEGER NOT NULL, -- astra.nft.v1.RewardKind; 0 if it is no reward
  create_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS nft_of_owner ON nft (owner_user_id, nft_id);

-- What was given to whom and for what; stays when the NFT is sold.
CREATE TABLE IF NOT EXISTS reward (
  user_id TEXT NOT NULL,
  kind INTEGER NOT NULL, -- astra.nft.v1.RewardKind
  key TEXT NOT NULL, -- the level, achievement or trade
  nft_id TEXT NOT NULL REFERENCES nft,
  PRIMARY KEY (user_id, kind, key)
) WITHOUT ROWID;
