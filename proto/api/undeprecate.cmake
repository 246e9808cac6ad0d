# Takes the compiler's attribute off the fields that bytes.cmake has marked, in the header FILE.
file(READ ${FILE} text)
string(REPLACE " PROTOBUF_C__DEPRECATED" "" text "${text}")
file(WRITE ${FILE} "${text}")
