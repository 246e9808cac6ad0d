/*
 * strato_grpc - the original's gRPC server command. See front.h.
 */
#include "supervisor/front.h"

int main(int argc, char **argv)
{
    static const struct front front = {"strato-grpc", "grpc", "STRATO_GRPC_", "8080"};
    return front_main(&front, argc, argv);
}
