"""Who did what; words and measures to search by; numbers that never come again; what is damaged."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NEEDS = "0.1.0"  # the first lftreg that reads this schema


def upgrade() -> None:
    op.create_table(
        "meta",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("value", sa.String(), nullable=False),
    )
    row = sa.text("INSERT INTO meta (key, value) VALUES (:key, :value)")
    op.execute(row.bindparams(key="needs", value=NEEDS))
    op.execute(row.bindparams(key="registry", value=uuid.uuid4().hex))  # goes with every copy of the database
    op.create_table(
        "log",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("number", sa.Integer()),
        sa.Column("digest", sa.String(64)),
        sa.Column("details", sa.JSON(), nullable=False),
    )
    op.create_index("ix_log_subject", "log", ["subject"])
    op.create_table(
        "cards",
        sa.Column(
            "version_id",
            sa.Integer(),
            sa.ForeignKey("versions.id", name="fk_cards_version_id_versions", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("text", sa.String(), nullable=False),
    )
    op.create_table(
        "measures",
        sa.Column(
            "version_id",
            sa.Integer(),
            sa.ForeignKey("versions.id", name="fk_measures_version_id_versions", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("suite", sa.String(), primary_key=True),
        sa.Column("metric", sa.String(), primary_key=True),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("score_id", sa.Integer()),
    )
    op.create_index("ix_measures_metric", "measures", ["metric", "suite", "value", "version_id"])
    op.add_column("adapters", sa.Column("last_number", sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE adapters SET last_number ="
        " coalesce((SELECT max(number) FROM versions WHERE versions.adapter_id = adapters.id), 0)"
    )
    op.add_column("versions", sa.Column("damage", sa.String()))
    op.create_index("ix_versions_base_id", "versions", ["base_id"])
    op.create_index("ix_versions_base_id_domain", "versions", ["base_id", "domain"])
    op.create_index("ix_versions_created_at", "versions", ["created_at"])
    op.create_index("ix_aliases_version_id", "aliases", ["version_id"])
    op.create_index("ix_aliases_alias", "aliases", ["alias", "version_id"])
    op.create_index("ix_alias_moves_adapter_id", "alias_moves", ["adapter_id"])
    op.create_index("ix_tags_key", "tags", ["key", "value", "version_id"])
    op.create_table("terms", sa.Column("word", sa.String(64), primary_key=True))
    op.create_index("ix_scores_items", "scores", ["items"])
    # Filled by `registry.derived` after every migration. Words are split before they come here, so that both
    # databases find the same.
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            "CREATE VIRTUAL TABLE words USING fts5"
            "(said, detail=none, prefix='1 2 3', tokenize=\"unicode61 remove_diacritics 0 categories 'L* N* M* Co'\")"
        )
    else:
        op.execute(
            "CREATE TABLE words (rowid INTEGER PRIMARY KEY REFERENCES versions (id) ON DELETE CASCADE,"
            " said TSVECTOR NOT NULL)"
        )
        op.execute("CREATE INDEX ix_words_said ON words USING gin (said)")
