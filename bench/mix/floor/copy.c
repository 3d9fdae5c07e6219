/* copy IN OUT: every packet as it is, to pcapng. */
#include "file.h"

int main(int argc, char **argv) {
    static struct reader r;
    static struct writer w;
    struct record record;
    if (argc != 3) return 2;
    begin(&r, argv[1], &w, argv[2]);
    while (next(&r, &record)) put(&w, &r, &record);
    flush(&w);
    return 0;
}
