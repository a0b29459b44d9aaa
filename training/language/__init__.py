"""Emotions of written English: GoEmotions, words and pieces of words, int8."""
