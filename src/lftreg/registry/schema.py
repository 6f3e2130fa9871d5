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
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

HEAD = "0001"  # the newest migration, as `alembic_version` holds it

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
    Column("base_id", String, nullable=False),
    Column("domain", String, index=True),
    Column("rank", Integer, nullable=False),
    Column("alpha", Float, nullable=False),
    Column("target_modules", JSON, nullable=False),
    Column("trainable_parameters", BigInteger, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("removed_at", DateTime),
    UniqueConstraint("adapter_id", "number"),
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
    Column("version_id", ForeignKey("versions.id"), nullable=False),
)
alias_moves = Table(
    "alias_moves",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("adapter_id", ForeignKey("adapters.id"), nullable=False),
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
)
