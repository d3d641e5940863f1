"""A user's own data: how good is the model that a system has when the time is over?"""
