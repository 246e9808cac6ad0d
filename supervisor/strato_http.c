/*
 * strato_http - the original's HTTP server command. See front.h.
 */
#include "supervisor/front.h"

int main(int argc, char **argv)
{
    static const struct front front = {"strato-http", "http", "STRATO_HTTP_", "8081"};
    return front_main(&front, argc, argv);
}
