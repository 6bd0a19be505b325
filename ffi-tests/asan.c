/* Proof that the sanitizer is really linked: it must end this program. */
#include <stdlib.h>

int main(int argc, char **argv) {
    char *bytes = malloc(8);
    (void)argv;
    bytes[7 + argc] = 1;
    int answer = bytes[argc];
    free(bytes);
    return answer;
}
