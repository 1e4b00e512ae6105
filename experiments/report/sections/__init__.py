"""The parts of a report's page that explain one thing each, such as mistakes or attention."""
