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

-- What was done by local command, by whom; only ever added to.
CREATE TABLE IF NOT EXISTS admin_audit (
  audit_id TEXT PRIMARY KEY,
  at_ms INTEGER NOT NULL,
  os_user TEXT NOT NULL,
  action TEXT NOT NULL,
  detail TEXT NOT NULL
) WITHOUT ROWID;
