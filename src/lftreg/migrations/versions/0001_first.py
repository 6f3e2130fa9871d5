"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "adapters",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.UniqueConstraint("name", name="uq_adapters_name"),
    )
    op.create_table(
        "bases",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model_type", sa.String(), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "alias_moves",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "adapter_id",
            sa.Integer(),
            sa.ForeignKey("adapters.id", name="fk_alias_moves_adapter_id_adapters"),
            nullable=False,
        ),
        sa.Column("alias", sa.String(64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "fingerprints",
        sa.Column("signature", sa.String(64), primary_key=True),
        sa.Column(
            "fingerprint",
            sa.String(64),
            sa.ForeignKey("bases.fingerprint", name="fk_fingerprints_fingerprint_bases"),
            nullable=False,
        ),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column(
            "adapter_id",
            sa.Integer(),
            sa.ForeignKey("adapters.id", name="fk_versions_adapter_id_adapters"),
            nullable=False,
        ),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column(
            "base",
            sa.String(64),
            sa.ForeignKey("bases.fingerprint", name="fk_versions_base_bases"),
            nullable=False,
        ),
        sa.Column("base_id", sa.String(), nullable=False),
        sa.Column("domain", sa.String(), nullable=True),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("alpha", sa.Float(), nullable=False),
        sa.Column("target_modules", sa.JSON(), nullable=False),
        sa.Column("trainable_parameters", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("removed_at", sa.DateTime(), nullable=True),
        sa.UniqueConstraint("adapter_id", "number", name="uq_versions_adapter_id"),
    )
    op.create_index("ix_versions_domain", "versions", ["domain"])
    op.create_index("ix_versions_base", "versions", ["base"])
    op.create_index("ix_versions_digest", "versions", ["digest"])
    op.create_table(
        "aliases",
        sa.Column(
            "adapter_id",
            sa.Integer(),
            sa.ForeignKey("adapters.id", name="fk_aliases_adapter_id_adapters"),
            primary_key=True,
        ),
        sa.Column("alias", sa.String(64), primary_key=True),
        sa.Column(
            "version_id",
            sa.Integer(),
            sa.ForeignKey("versions.id", name="fk_aliases_version_id_versions"),
            nullable=False,
        ),
    )
    op.create_table(
        "files",
        sa.Column(
            "version_id",
            sa.Integer(),
            sa.ForeignKey("versions.id", ondelete="CASCADE", name="fk_files_version_id_versions"),
            primary_key=True,
        ),
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("attachment", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_files_sha256", "files", ["sha256"])
    op.create_table(
        "parents",
        sa.Column(
            "version_id",
            sa.Integer(),
            sa.ForeignKey("versions.id", ondelete="CASCADE", name="fk_parents_version_id_versions"),
            primary_key=True,
        ),
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
    )
    op.create_index("ix_parents_digest", "parents", ["digest"])
    op.create_table(
        "recipes",
        sa.Column(
            "version_id",
            sa.Integer(),
            sa.ForeignKey("versions.id", ondelete="CASCADE", name="fk_recipes_version_id_versions"),
            primary_key=True,
        ),
        sa.Column("method", sa.String(), nullable=False),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("relative_error", sa.Float(), nullable=True),
    )
    op.create_table(
        "runs",
        sa.Column(
            "version_id",
            sa.Integer(),
            sa.ForeignKey("versions.id", ondelete="CASCADE", name="fk_runs_version_id_versions"),
            primary_key=True,
        ),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("data_digest", sa.String(64), nullable=False),
        sa.Column("settings", sa.JSON(), nullable=False),
        sa.Column("libraries", sa.JSON(), nullable=False),
        sa.Column("losses", sa.JSON(), nullable=False),
        sa.Column("examples", sa.JSON(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
    )
    op.create_table(
        "tags",
        sa.Column(
            "version_id",
            sa.Integer(),
            sa.ForeignKey("versions.id", ondelete="CASCADE", name="fk_tags_version_id_versions"),
            primary_key=True,
        ),
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
