"""How Django writes dates and times where no template says it."""
