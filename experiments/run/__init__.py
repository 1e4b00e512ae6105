"""From a config to results.json: read experiment, preparation, plans, training, then sweep."""
