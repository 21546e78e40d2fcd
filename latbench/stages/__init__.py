"""The hot path: a module a stage, each a process of its own; siblings do not know each other."""
