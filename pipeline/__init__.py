NOT_IN_KEYS = "it keeps what stages compute; a mend that changes results raises a stage's version"
