"""From a config to results.json: read experiment, then preparation, building, training, sweep."""
