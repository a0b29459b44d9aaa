"""Training and evaluation of the voice analyzer: EMO-DB and EmoGator by speaker, as microphones would record them."""
