"""Alerts of budgets, told to webhooks and mailboxes until they have heard of them."""
