"""The commands of `vecserve`, a module each, and what several of them share."""
