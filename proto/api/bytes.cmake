# Copies the .proto file FROM to TO with every string field made bytes. That it was a string is
# passed on as "deprecated", the one mark of a field that protoc-c puts into its descriptor.
file(READ ${FROM} text)
string(REGEX REPLACE "(\n *(repeated )?)string ([a-z0-9_]+ = [0-9]+);"
    "\\1bytes \\3 [deprecated = true];" text "${text}")
file(WRITE ${TO} "${text}")
