"""Studies: several trainings or evaluations that answer one question, with their tables and plots."""
