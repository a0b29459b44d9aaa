"""Emotions of written English: GoEmotions, a teacher, a bag of words and pieces in int8."""
