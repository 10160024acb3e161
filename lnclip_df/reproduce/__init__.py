"""The whole way from the datasets on disk to the leaderboard: a plan of its stages, and a run that can be continued."""
