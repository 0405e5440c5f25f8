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

CREATE TABLE IF NOT EXISTS kyc (
  user_id TEXT PRIMARY KEY,
  verify_ms INTEGER NOT NULL,
  expire_ms INTEGER NOT NULL
) WITHOUT ROWID;

-- Amounts are in the smallest unit of the currency. Of a card only the processor's token and the last four digits.
CREATE TABLE IF NOT EXISTS payment (
  payment_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  purpose INTEGER NOT NULL, -- astra.financial.v1.PaymentPurpose
  state INTEGER NOT NULL, -- astra.financial.v1.PaymentState
  currency TEXT NOT NULL,
  amount_minor INTEGER NOT NULL CHECK (amount_minor > 0),
  card_token TEXT NOT NULL, -- empty if the balance pays
  card_last_four TEXT NOT NULL,
  charge_id TEXT NOT NULL DEFAULT '', -- the processor's, once it is charged
  reason TEXT NOT NULL DEFAULT '',
  refunded_payment_id TEXT NOT NULL DEFAULT '', -- what it gives back
  refunded_minor INTEGER NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND amount_minor),
  subscription_id TEXT NOT NULL DEFAULT '',
  tier INTEGER NOT NULL DEFAULT 0, -- astra.financial.v1.SubscriptionTier
  cycle_days INTEGER NOT NULL DEFAULT 0,
  subscription_change INTEGER NOT NULL DEFAULT 0, -- 1 start, 2 upgrade, 3 renewal
  in_effect INTEGER NOT NULL DEFAULT 1, -- 0 for a subscription's until it has failed or changed the subscription
  create_ms INTEGER NOT NULL,
  update_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS payment_of_user ON payment (user_id, payment_id);
-- One at a time, so nobody pays twice for the same period.
CREATE UNIQUE INDEX IF NOT EXISTS payment_for_subscription ON payment (user_id) WHERE in_effect = 0;

CREATE TABLE IF NOT EXISTS subscription (
  subscription_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  tier INTEGER NOT NULL, -- astra.financial.v1.SubscriptionTier
  state INTEGER NOT NULL, -- astra.financial.v1.SubscriptionState
  renews INTEGER NOT NULL, -- 0 once it is cancelled
  cycle_days INTEGER NOT NULL,
  card_token TEXT NOT NULL, -- for renewals; empty if the balance pays
  card_last_four TEXT NOT NULL,
  start_ms INTEGER NOT NULL,
  end_ms INTEGER NOT NULL
) WITHOUT ROWID;
-- One a user that has not expired.
CREATE UNIQUE INDEX IF NOT EXISTS subscription_of_user ON subscription (user_id) WHERE state <> 5;

-- Whose account is suspended, as of the newest event.
CREATE TABLE IF NOT EXISTS account_status (
  user_id TEXT PRIMARY KEY,
  suspended INTEGER NOT NULL,
  ordinal INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS compliance_flag (
  flag_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  payment_id TEXT NOT NULL,
  create_ms INTEGER NOT NULL,
  UNIQUE (payment_id, reason)
) WITHOUT ROWID;
