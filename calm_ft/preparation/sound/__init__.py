"""How recordings sound: where speech is, what is wrong with it, how it is made alike, what sounds the same."""
