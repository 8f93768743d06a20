"""Limits and budgets by counters that workers share: at once where a call fits into what this worker has, after one
exchange where it does not, alone while the counters are away."""
