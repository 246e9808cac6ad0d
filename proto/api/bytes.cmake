# Copies the .proto file FROM to TO with every string field made bytes.
file(READ ${FROM} text)
string(REGEX REPLACE "(\n *(repeated )?)string " "\\1bytes " text "${text}")
file(WRITE ${TO} "${text}")
