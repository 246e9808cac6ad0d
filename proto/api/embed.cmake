# Writes the bytes of the file FROM as a C array to TO.
file(READ ${FROM} bytes HEX)
string(LENGTH "${bytes}" digits)
math(EXPR size "${digits} / 2")
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${TO} "#include \"proto/api/descriptors.h\"\n
const unsigned char api_descriptors[] = {\n${bytes}};
const unsigned long api_descriptors_size = ${size};\n")
