"""The tables. `migrations/` makes them; a test holds the two together."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    column,
    table,
)

HEAD = "0004"  # the newest migration, as `alembic_version` holds it

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

bases = Table(
    "bases",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("id", String, nullable=False),
    Column("model_type", String, nullable=False),
    Column("parameters", BigInteger, nullable=False),
)
fingerprints = Table(
    "fingerprints",
    metadata,
    Column("signature", String(64), primary_key=True),
    Column("fingerprint", ForeignKey("bases.fingerprint"), nullable=False),
)
adapters = Table(
    "adapters",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("last_number", Integer, nullable=False, server_default="0"),  # a number never comes again
)
versions = Table(
    "versions",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("adapter_id", ForeignKey("adapters.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("base", ForeignKey("bases.fingerprint"), nullable=False, index=True),
    Column("base_id", String, nullable=False, index=True),
    Column("domain", String, index=True),
    Column("rank", Integer, nullable=False),
    Column("alpha", Float, nullable=False),
    Column("target_modules", JSON, nullable=False),
    Column("trainable_parameters", BigInteger, nullable=False),
    Column("created_at", DateTime, nullable=False, index=True),
    Column("removed_at", DateTime),
    Column("damage", String),  # what `verify` found wrong with its files
    UniqueConstraint("adapter_id", "number"),
    Index("ix_versions_base_id_domain", "base_id", "domain"),  # what is asked for together most
)
files = Table(
    "files",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("name", String, primary_key=True),
    Column("sha256", String(64), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
    Column("attachment", Boolean, nullable=False),
)
runs = Table(
    "runs",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("seed", BigInteger, nullable=False),
    Column("data_digest", String(64), nullable=False),
    Column("settings", JSON, nullable=False),
    Column("libraries", JSON, nullable=False),
    Column("losses", JSON, nullable=False),
    Column("examples", JSON, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
)
recipes = Table(
    "recipes",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("method", String, nullable=False),
    Column("options", JSON, nullable=False),
    Column("relative_error", Float),
)
parents = Table(
    "parents",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("ref", String, nullable=False),
    Column("digest", String(64), nullable=False, index=True),
    Column("weight", Float, nullable=False),
)
aliases = Table(
    "aliases",
    metadata,
    Column("adapter_id", ForeignKey("adapters.id"), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("version_id", ForeignKey("versions.id"), nullable=False, index=True),
    Index(None, "alias", "version_id"),
)
alias_moves = Table(
    "alias_moves",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("adapter_id", ForeignKey("adapters.id"), nullable=False, index=True),
    Column("alias", String(64), nullable=False),
    Column("number", Integer),
    Column("at", DateTime, nullable=False),
)
tags = Table(
    "tags",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
    Index(None, "key", "value", "version_id"),
)
cards = Table(
    "cards",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("text", String, nullable=False),
)
scores = Table(
    "scores",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("ref", String, nullable=False),
    Column("base", ForeignKey("bases.fingerprint"), nullable=False),
    Column("suite", String, nullable=False),
    Column("suite_digest", String(64), nullable=False, index=True),
    Column("decoding", JSON, nullable=False),
    Column("decoding_digest", String(64), nullable=False),
    Column("n", Integer, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("facts", JSON, nullable=False),
    Column("libraries", JSON, nullable=False),
    Column("items", String(64), nullable=False, index=True),
    Column("at", DateTime, nullable=False),
)
preferences = Table(
    "preferences",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("ref", String, nullable=False),
    Column("against", String(64), nullable=False),
    Column("against_ref", String, nullable=False),
    Column("suite", String, nullable=False),
    Column("suite_digest", String(64), nullable=False),
    Column("decoding_digest", String(64), nullable=False),
    Column("item", Integer, nullable=False),
    Column("choice", String(8), nullable=False),
    Column("at", DateTime, nullable=False),
)
keys = Table(
    "keys",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("sha256", String(64), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    Column("adapters", JSON, nullable=False),
    Column("per_minute", Integer),
    Column("concurrent", Integer),
    Column("created_at", DateTime, nullable=False),
    Column("expires_at", DateTime),
)
log = Table(
    "log",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", DateTime, nullable=False),
    Column("who", String, nullable=False),
    Column("host", String, nullable=False),
    Column("action", String(16), nullable=False),
    Column("subject", String, nullable=False, index=True),  # the name of an adapter, a key, ...
    Column("number", Integer),
    Column("digest", String(64)),
    Column("details", JSON, nullable=False),
)
meta = Table(
    "meta",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("value", String, nullable=False),
)

# Made of other rows, and made anew after a migration: see `derived`.

measures = Table(
    "measures",
    metadata,
    Column("version_id", ForeignKey("versions.id", ondelete="CASCADE"), primary_key=True),
    Column("suite", String, primary_key=True),  # "" has the newest value of any suite, and losses
    Column("metric", String, primary_key=True),
    Column("value", Float, nullable=False),
    Column("score_id", Integer),  # whose value it is; a loss is of no score
    Index(None, "metric", "suite", "value", "version_id"),
)
# Every word that some version has or had: what begins with the letters somebody typed.
terms = Table("terms", metadata, Column("word", String(64), primary_key=True))
# One row a version. On SQLite an FTS5 table, on PostgreSQL a tsvector; only `words` knows which.
words = table("words", column("rowid", Integer), column("said", String))
