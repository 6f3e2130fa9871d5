"""Scores of evaluations, and what people preferred."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "scores",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column(
            "base",
            sa.String(64),
            sa.ForeignKey("bases.fingerprint", name="fk_scores_base_bases"),
            nullable=False,
        ),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("suite_digest", sa.String(64), nullable=False),
        sa.Column("decoding", sa.JSON(), nullable=False),
        sa.Column("decoding_digest", sa.String(64), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.Column("libraries", sa.JSON(), nullable=False),
        sa.Column("items", sa.String(64), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_scores_digest", "scores", ["digest"])
    op.create_index("ix_scores_suite_digest", "scores", ["suite_digest"])
    op.create_table(
        "preferences",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("against", sa.String(64), nullable=False),
        sa.Column("against_ref", sa.String(), nullable=False),
        sa.Column("suite", sa.String(), nullable=False),
        sa.Column("suite_digest", sa.String(64), nullable=False),
        sa.Column("decoding_digest", sa.String(64), nullable=False),
        sa.Column("item", sa.Integer(), nullable=False),
        sa.Column("choice", sa.String(8), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
    )
    op.create_index("ix_preferences_digest", "preferences", ["digest"])
