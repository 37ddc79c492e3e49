"""Pages about runs: what pretraining gave, how runs compare, and what a search for a budget found."""
