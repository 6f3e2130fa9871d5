-- Written by tools/schema.py from the migrations: a fresh database is made at once, and not step by step.
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

CREATE TABLE adapters (
	id INTEGER NOT NULL, 
	name VARCHAR(64) NOT NULL, last_number INTEGER DEFAULT '0' NOT NULL, 
	CONSTRAINT pk_adapters PRIMARY KEY (id), 
	CONSTRAINT uq_adapters_name UNIQUE (name)
);

CREATE TABLE bases (
	fingerprint VARCHAR(64) NOT NULL, 
	id VARCHAR NOT NULL, 
	model_type VARCHAR NOT NULL, 
	parameters BIGINT NOT NULL, 
	CONSTRAINT pk_bases PRIMARY KEY (fingerprint)
);

CREATE TABLE alias_moves (
	id INTEGER NOT NULL, 
	adapter_id INTEGER NOT NULL, 
	alias VARCHAR(64) NOT NULL, 
	number INTEGER, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_alias_moves PRIMARY KEY (id), 
	CONSTRAINT fk_alias_moves_adapter_id_adapters FOREIGN KEY(adapter_id) REFERENCES adapters (id)
);

CREATE TABLE fingerprints (
	signature VARCHAR(64) NOT NULL, 
	fingerprint VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_fingerprints PRIMARY KEY (signature), 
	CONSTRAINT fk_fingerprints_fingerprint_bases FOREIGN KEY(fingerprint) REFERENCES bases (fingerprint)
);

CREATE TABLE versions (
	id INTEGER NOT NULL, 
	adapter_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	base VARCHAR(64) NOT NULL, 
	base_id VARCHAR NOT NULL, 
	domain VARCHAR, 
	rank INTEGER NOT NULL, 
	alpha FLOAT NOT NULL, 
	target_modules JSON NOT NULL, 
	trainable_parameters BIGINT NOT NULL, 
	created_at DATETIME NOT NULL, 
	removed_at DATETIME, damage VARCHAR, 
	CONSTRAINT pk_versions PRIMARY KEY (id), 
	CONSTRAINT uq_versions_adapter_id UNIQUE (adapter_id, number), 
	CONSTRAINT fk_versions_adapter_id_adapters FOREIGN KEY(adapter_id) REFERENCES adapters (id), 
	CONSTRAINT fk_versions_base_bases FOREIGN KEY(base) REFERENCES bases (fingerprint)
);

CREATE INDEX ix_versions_domain ON versions (domain);

CREATE INDEX ix_versions_base ON versions (base);

CREATE INDEX ix_versions_digest ON versions (digest);

CREATE TABLE aliases (
	adapter_id INTEGER NOT NULL, 
	alias VARCHAR(64) NOT NULL, 
	version_id INTEGER NOT NULL, 
	CONSTRAINT pk_aliases PRIMARY KEY (adapter_id, alias), 
	CONSTRAINT fk_aliases_adapter_id_adapters FOREIGN KEY(adapter_id) REFERENCES adapters (id), 
	CONSTRAINT fk_aliases_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id)
);

CREATE TABLE files (
	version_id INTEGER NOT NULL, 
	name VARCHAR NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	size BIGINT NOT NULL, 
	attachment BOOLEAN NOT NULL, 
	CONSTRAINT pk_files PRIMARY KEY (version_id, name), 
	CONSTRAINT fk_files_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);

CREATE INDEX ix_files_sha256 ON files (sha256);

CREATE TABLE parents (
	version_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	ref VARCHAR NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	weight FLOAT NOT NULL, 
	CONSTRAINT pk_parents PRIMARY KEY (version_id, position), 
	CONSTRAINT fk_parents_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);

CREATE INDEX ix_parents_digest ON parents (digest);

CREATE TABLE recipes (
	version_id INTEGER NOT NULL, 
	method VARCHAR NOT NULL, 
	options JSON NOT NULL, 
	relative_error FLOAT, 
	CONSTRAINT pk_recipes PRIMARY KEY (version_id), 
	CONSTRAINT fk_recipes_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);

CREATE TABLE runs (
	version_id INTEGER NOT NULL, 
	seed BIGINT NOT NULL, 
	data_digest VARCHAR(64) NOT NULL, 
	settings JSON NOT NULL, 
	libraries JSON NOT NULL, 
	losses JSON NOT NULL, 
	examples JSON NOT NULL, 
	tokens BIGINT NOT NULL, 
	seconds FLOAT NOT NULL, 
	CONSTRAINT pk_runs PRIMARY KEY (version_id), 
	CONSTRAINT fk_runs_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);

CREATE TABLE tags (
	version_id INTEGER NOT NULL, 
	"key" VARCHAR NOT NULL, 
	value VARCHAR NOT NULL, 
	CONSTRAINT pk_tags PRIMARY KEY (version_id, "key"), 
	CONSTRAINT fk_tags_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);

CREATE TABLE scores (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	ref VARCHAR NOT NULL, 
	base VARCHAR(64) NOT NULL, 
	suite VARCHAR NOT NULL, 
	suite_digest VARCHAR(64) NOT NULL, 
	decoding JSON NOT NULL, 
	decoding_digest VARCHAR(64) NOT NULL, 
	n INTEGER NOT NULL, 
	metrics JSON NOT NULL, 
	facts JSON NOT NULL, 
	libraries JSON NOT NULL, 
	items VARCHAR(64) NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_scores PRIMARY KEY (id), 
	CONSTRAINT fk_scores_base_bases FOREIGN KEY(base) REFERENCES bases (fingerprint)
);

CREATE INDEX ix_scores_digest ON scores (digest);

CREATE INDEX ix_scores_suite_digest ON scores (suite_digest);

CREATE TABLE preferences (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	ref VARCHAR NOT NULL, 
	against VARCHAR(64) NOT NULL, 
	against_ref VARCHAR NOT NULL, 
	suite VARCHAR NOT NULL, 
	suite_digest VARCHAR(64) NOT NULL, 
	decoding_digest VARCHAR(64) NOT NULL, 
	item INTEGER NOT NULL, 
	choice VARCHAR(8) NOT NULL, 
	at DATETIME NOT NULL, 
	CONSTRAINT pk_preferences PRIMARY KEY (id)
);

CREATE INDEX ix_preferences_digest ON preferences (digest);

CREATE TABLE keys (
	name VARCHAR(64) NOT NULL, 
	sha256 VARCHAR(64) NOT NULL, 
	scopes JSON NOT NULL, 
	adapters JSON NOT NULL, 
	per_minute INTEGER, 
	concurrent INTEGER, 
	created_at DATETIME NOT NULL, 
	expires_at DATETIME, 
	CONSTRAINT pk_keys PRIMARY KEY (name), 
	CONSTRAINT uq_keys_sha256 UNIQUE (sha256)
);

CREATE TABLE meta (
	"key" VARCHAR(64) NOT NULL, 
	value VARCHAR NOT NULL, 
	CONSTRAINT pk_meta PRIMARY KEY ("key")
);

CREATE TABLE log (
	id INTEGER NOT NULL, 
	at DATETIME NOT NULL, 
	who VARCHAR NOT NULL, 
	host VARCHAR NOT NULL, 
	action VARCHAR(16) NOT NULL, 
	subject VARCHAR NOT NULL, 
	number INTEGER, 
	digest VARCHAR(64), 
	details JSON NOT NULL, 
	CONSTRAINT pk_log PRIMARY KEY (id)
);

CREATE INDEX ix_log_subject ON log (subject);

CREATE TABLE cards (
	version_id INTEGER NOT NULL, 
	text VARCHAR NOT NULL, 
	CONSTRAINT pk_cards PRIMARY KEY (version_id), 
	CONSTRAINT fk_cards_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);

CREATE TABLE measures (
	version_id INTEGER NOT NULL, 
	suite VARCHAR NOT NULL, 
	metric VARCHAR NOT NULL, 
	value FLOAT NOT NULL, 
	score_id INTEGER, 
	CONSTRAINT pk_measures PRIMARY KEY (version_id, suite, metric), 
	CONSTRAINT fk_measures_version_id_versions FOREIGN KEY(version_id) REFERENCES versions (id) ON DELETE CASCADE
);

CREATE INDEX ix_measures_metric ON measures (metric, suite, value, version_id);

CREATE INDEX ix_versions_base_id ON versions (base_id);

CREATE INDEX ix_versions_base_id_domain ON versions (base_id, domain);

CREATE INDEX ix_versions_created_at ON versions (created_at);

CREATE INDEX ix_aliases_version_id ON aliases (version_id);

CREATE INDEX ix_aliases_alias ON aliases (alias, version_id);

CREATE INDEX ix_alias_moves_adapter_id ON alias_moves (adapter_id);

CREATE INDEX ix_tags_key ON tags ("key", value, version_id);

CREATE TABLE terms (
	word VARCHAR(64) NOT NULL, 
	CONSTRAINT pk_terms PRIMARY KEY (word)
);

CREATE INDEX ix_scores_items ON scores (items);

CREATE VIRTUAL TABLE words USING fts5(said, detail=none, prefix='1 2 3', tokenize="unicode61 remove_diacritics 0 categories 'L* N* M* Co'");
