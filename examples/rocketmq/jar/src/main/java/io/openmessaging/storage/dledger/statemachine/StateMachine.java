package io.openmessaging.storage.dledger.statemachine;

/**
 * What RocketMQ's controller gives to a server. It has what the controller needs to come as far as the server, which
 * says that the controller is not supported.
 */
public interface StateMachine {
    /** Called while the controller's own is made. */
    default String generateDLedgerId(String group, String self) {
        return group + "#" + self;
    }
}
