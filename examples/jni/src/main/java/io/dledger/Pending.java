package io.dledger;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** What waits for its end, by a number that native code keeps for it. Any thread. */
final class Pending {
    private Object[] waiting = new Object[256];
    /** The free numbers: a stack. */
    private int[] free = new int[256];
    private int freeCount;

    Pending() {
        for (int i = 0; i < free.length; i++) {
            free[i] = free.length - 1 - i;
        }
        freeCount = free.length;
    }

    synchronized int add(Object object) {
        if (freeCount == 0) {
            grow();
        }
        int number = free[--freeCount];
        waiting[number] = object;
        return number;
    }

    /** Once for each number. */
    synchronized Object remove(int number) {
        Object object = waiting[number];
        waiting[number] = null;
        free[freeCount++] = number;
        return object;
    }

    /** Nothing will end it: takes it back, unless {@link #removeAll} was faster. */
    synchronized void cancel(int number, Object object) {
        if (waiting[number] == object) {
            remove(number);
        }
    }

    /** All that are left, also those whose native call is only about to be refused. */
    synchronized List<Object> removeAll() {
        List<Object> all = new ArrayList<>();
        for (int number = 0; number < waiting.length; number++) {
            if (waiting[number] != null) {
                all.add(remove(number));
            }
        }
        return all;
    }

    private void grow() {
        int before = waiting.length;
        waiting = Arrays.copyOf(waiting, 2 * before);
        free = Arrays.copyOf(free, 2 * before);
        for (int number = 2 * before - 1; number >= before; number--) {
            free[freeCount++] = number;
        }
    }
}
