-- The ledger. Amounts are in the smallest unit of their currency.
CREATE TABLE IF NOT EXISTS account (
  owner TEXT NOT NULL, -- a user id, or platform:…
  currency TEXT NOT NULL,
  balance_minor INTEGER NOT NULL CHECK (balance_minor >= 0 OR owner LIKE 'platform:%'),
  PRIMARY KEY (owner, currency)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS transfer (
  transfer_id TEXT PRIMARY KEY,
  purpose TEXT NOT NULL,
  mode INTEGER NOT NULL, -- astra.financial.v1.RevenueMode
  create_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Two rows a transfer, which sum to zero.
CREATE TABLE IF NOT EXISTS entry (
  transfer_id TEXT NOT NULL REFERENCES transfer,
  owner TEXT NOT NULL,
  currency TEXT NOT NULL,
  change_minor INTEGER NOT NULL CHECK (change_minor <> 0),
  PRIMARY KEY (transfer_id, owner)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS entry_of_owner ON entry (owner, transfer_id);

CREATE TRIGGER IF NOT EXISTS entry_stays BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: book a transfer back instead'); END;
CREATE TRIGGER IF NOT EXISTS entry_is_kept BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only: book a transfer back instead'); END;

CREATE TABLE IF NOT EXISTS revenue (
  revenue_id TEXT PRIMARY KEY REFERENCES transfer, -- the transfer it was booked with
  stream INTEGER NOT NULL, -- astra.financial.v1.RevenueStream
  mode INTEGER NOT NULL, -- astra.financial.v1.RevenueMode
  currency TEXT NOT NULL,
  amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
  user_id TEXT NOT NULL,
  source_id TEXT NOT NULL, -- the trade or listing
  earn_ms INTEGER NOT NULL, -- when it was earned, not when it was booked
  UNIQUE (stream, source_id)
) WITHOUT ROWID;
-- Holds all that GetRevenue reads.
CREATE INDEX IF NOT EXISTS revenue_by_time ON revenue (earn_ms, stream, mode, currency, amount_minor);
