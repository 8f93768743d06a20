"""Teams: whose keys may use which models, in which environment."""
