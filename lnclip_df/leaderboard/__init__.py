"""Predictions of several runs, side by side: tables, plots, a page, and what made each figure."""

from lnclip_df.leaderboard.board import make_board
from lnclip_df.leaderboard.comparison import compare
from lnclip_df.leaderboard.outputs import leaderboard, write_board

__all__ = ["compare", "leaderboard", "make_board", "write_board"]
