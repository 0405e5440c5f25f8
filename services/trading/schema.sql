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

-- The last change of each trade, numbered over all of them: what WatchTrades goes by.
CREATE TABLE IF NOT EXISTS trade_change (
  trade_id TEXT PRIMARY KEY REFERENCES trade,
  user_id TEXT NOT NULL,
  number INTEGER NOT NULL UNIQUE
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS trade_change_of_user ON trade_change (user_id, number);

-- Read models, kept from trading's own events.
CREATE TABLE IF NOT EXISTS exposure (
  user_id TEXT NOT NULL,
  mode INTEGER NOT NULL,
  symbol TEXT NOT NULL,
  direction INTEGER NOT NULL,
  amount_cents INTEGER NOT NULL, -- below 0 while a close was seen before its trade
  PRIMARY KEY (user_id, mode, symbol, direction)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS day_result (
  user_id TEXT NOT NULL,
  mode INTEGER NOT NULL,
  day INTEGER NOT NULL, -- days since the epoch, UTC
  opened INTEGER NOT NULL DEFAULT 0,
  closed INTEGER NOT NULL DEFAULT 0,
  won INTEGER NOT NULL DEFAULT 0,
  volume_cents INTEGER NOT NULL DEFAULT 0,
  fees_cents INTEGER NOT NULL DEFAULT 0,
  pnl_cents INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (user_id, mode, day)
) WITHOUT ROWID;

-- Real money: what trades made of what the user has paid in at the exchange, which alone knows how much that is.
CREATE TABLE IF NOT EXISTS live_portfolio (
  user_id TEXT PRIMARY KEY,
  moved_cents INTEGER NOT NULL, -- stakes and fees out, stakes and PnL back
  realized_cents INTEGER NOT NULL
) WITHOUT ROWID;

-- Orders for the exchange, worked off under a lease by whoever finds them due.
CREATE TABLE IF NOT EXISTS live_order (
  client_order_id TEXT PRIMARY KEY, -- the trade's id to open it, `<id>-c<n>` to close it
  trade_id TEXT NOT NULL REFERENCES trade,
  side INTEGER NOT NULL, -- model.Side
  step INTEGER NOT NULL, -- model.Step
  amount_cents INTEGER NOT NULL,
  filled_cents INTEGER NOT NULL DEFAULT 0, -- as far as the exchange has told
  failure_reason TEXT NOT NULL DEFAULT '',
  worth_cents INTEGER NOT NULL, -- the portfolio's, just before
  carried_cents INTEGER NOT NULL DEFAULT 0, -- closed by earlier orders of the same close
  carried_price TEXT NOT NULL DEFAULT '0', -- their mean exit price
  correlation_id TEXT NOT NULL,
  traceparent TEXT NOT NULL,
  create_ms INTEGER NOT NULL,
  due_ms INTEGER NOT NULL -- also the end of the lease of whoever has it in hand
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS live_order_due ON live_order (due_ms) WHERE step <> 3;
CREATE INDEX IF NOT EXISTS live_order_of_trade ON live_order (trade_id);

CREATE VIEW IF NOT EXISTS trade_shown AS
SELECT trade.*, live_order.filled_cents, live_order.failure_reason
FROM trade LEFT JOIN live_order ON live_order.client_order_id = trade.trade_id;
