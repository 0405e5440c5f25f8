CREATE TABLE IF NOT EXISTS account (
  user_id TEXT PRIMARY KEY,
  username TEXT NOT NULL, -- as it was given
  username_key TEXT NOT NULL UNIQUE, -- in lower case
  email TEXT, -- as it was given; NULL for an admin made without one
  email_key TEXT UNIQUE, -- in lower case
  display_name TEXT NOT NULL,
  password_hash TEXT NOT NULL, -- Argon2id, with its salt and parameters
  verification_tier INTEGER NOT NULL, -- astra.user.v1.VerificationTier
  state INTEGER NOT NULL, -- astra.user.v1.UserState
  create_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS account_role (
  user_id TEXT NOT NULL REFERENCES account,
  role INTEGER NOT NULL, -- astra.user.v1.Role
  PRIMARY KEY (user_id, role)
) WITHOUT ROWID;

-- What events tell of a user, registered here or not; a row arises with the first of them.
CREATE TABLE IF NOT EXISTS profile (
  user_id TEXT PRIMARY KEY,
  level INTEGER NOT NULL DEFAULT 0, -- the highest that a level-up told of; 0 before the first
  influence INTEGER NOT NULL DEFAULT 0,
  social_rating TEXT NOT NULL DEFAULT '',
  social_rating_ordinal INTEGER NOT NULL DEFAULT 0 -- of the event that told of it
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS signing_key (
  kid TEXT PRIMARY KEY,
  private_pem TEXT NOT NULL,
  create_ms INTEGER NOT NULL,
  sign_from_ms INTEGER NOT NULL, -- the key that began last signs
  verify_until_ms INTEGER -- NULL until a successor is made
) WITHOUT ROWID;

-- What was done by local command or by an admin, by whom; only ever added to.
CREATE TABLE IF NOT EXISTS admin_audit (
  audit_id TEXT PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  os_user TEXT NOT NULL, -- or `user:<id>`
  action TEXT NOT NULL,
  detail TEXT NOT NULL
) WITHOUT ROWID;

-- Tokens issued before it are refused everywhere; no row before the first suspension or change of password.
CREATE TABLE IF NOT EXISTS account_access (
  user_id TEXT PRIMARY KEY REFERENCES account,
  not_before_ms INTEGER NOT NULL -- a full second, as token times are
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS account_bio (
  user_id TEXT PRIMARY KEY REFERENCES account,
  bio TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS session (
  session_id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES account,
  key BLOB NOT NULL, -- of the MAC in its refresh tokens
  rotation INTEGER NOT NULL, -- number of the refresh token that is good now
  expire_ms INTEGER NOT NULL,
  end_ms INTEGER -- NULL until it was ended
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS session_of_user ON session (user_id);
CREATE INDEX IF NOT EXISTS session_by_expiry ON session (expire_ms);

CREATE TABLE IF NOT EXISTS notification (
  number INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order they were committed
  notification_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  kind INTEGER NOT NULL, -- astra.user.v1.NotificationKind
  title TEXT NOT NULL,
  text TEXT NOT NULL,
  event_type TEXT NOT NULL,
  subject TEXT NOT NULL,
  correlation_id TEXT NOT NULL,
  create_ms INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS notification_of_user ON notification (user_id, number);
