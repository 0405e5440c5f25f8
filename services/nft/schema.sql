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
CREATE INDEX IF NOT EXISTS reward_of_nft ON reward (nft_id);

-- Who has minted which Genesis type; stays when the NFT is sold.
CREATE TABLE IF NOT EXISTS genesis (
  user_id TEXT NOT NULL,
  genesis_type TEXT NOT NULL,
  nft_id TEXT NOT NULL UNIQUE REFERENCES nft,
  PRIMARY KEY (user_id, genesis_type)
) WITHOUT ROWID;

-- How far users have come with what Genesis NFTs are for, from the events of other domains.
CREATE TABLE IF NOT EXISTS feat (
  user_id TEXT NOT NULL,
  feat TEXT NOT NULL,
  progress INTEGER NOT NULL,
  PRIMARY KEY (user_id, feat)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS listing (
  listing_id TEXT PRIMARY KEY,
  nft_id TEXT NOT NULL REFERENCES nft,
  seller_user_id TEXT NOT NULL,
  price INTEGER NOT NULL CHECK (price > 0), -- shards
  state INTEGER NOT NULL, -- astra.nft.v1.ListingState
  create_ms INTEGER NOT NULL,
  expire_ms INTEGER NOT NULL,
  settle_ms INTEGER -- when the seller and the fees were credited
) WITHOUT ROWID;
-- An NFT is offered once at a time: active or reserved.
CREATE UNIQUE INDEX IF NOT EXISTS listing_of_nft ON listing (nft_id) WHERE state IN (1, 2);
CREATE INDEX IF NOT EXISTS listing_by_state ON listing (state, listing_id);

CREATE TABLE IF NOT EXISTS purchase (
  purchase_id TEXT PRIMARY KEY,
  listing_id TEXT NOT NULL REFERENCES listing,
  buyer_user_id TEXT NOT NULL,
  state INTEGER NOT NULL, -- astra.nft.v1.PurchaseState
  reason TEXT NOT NULL DEFAULT '' -- why it failed
) WITHOUT ROWID;
-- A listing is bought once: pending or completed.
CREATE UNIQUE INDEX IF NOT EXISTS purchase_of_listing ON purchase (listing_id) WHERE state IN (1, 2);
