CREATE TABLE IF NOT EXISTS portfolio (
  user_id TEXT PRIMARY KEY,
  balance_cents INTEGER NOT NULL CHECK (balance_cents >= 0),
  realized_cents INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS trade (
  trade_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL,
  symbol TEXT NOT NULL,
  direction INTEGER NOT NULL, -- astra.trading.v1.Direction
  mode INTEGER NOT NULL, -- astra.trading.v1.TradingMode
  state INTEGER NOT NULL, -- astra.trading.v1.TradeState
  amount_cents INTEGER NOT NULL CHECK (amount_cents > 0),
  fee_cents INTEGER NOT NULL,
  entry_price TEXT NOT NULL,
  exit_price TEXT,
  pnl_cents INTEGER,
  battle_id TEXT NOT NULL,
  create_ms INTEGER NOT NULL,
  close_ms INTEGER
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS trade_of_user ON trade (user_id, trade_id);
CREATE INDEX IF NOT EXISTS trade_of_user_by_time ON trade (user_id, create_ms);
CREATE INDEX IF NOT EXISTS trade_of_battle ON trade (battle_id, user_id) WHERE battle_id <> '';
