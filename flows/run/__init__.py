"""Run: walk a plan, keep a record of it, resume it, look at what it left, and clean up."""
