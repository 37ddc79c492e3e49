"""Transfer methods that need torch or scikit-learn: boosting, losses between domains, penalties, layers."""
